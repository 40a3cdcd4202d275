/** Registers the service worker, so that a reload without the gateway shows the page; removes it where answers are simulated. */
import type { ChatStore } from "../chat/contract";

const ADDRESS = "/sw.js";
// The worker's constants, repeated: an import from the page would split the worker into several files.
const TIDY = "tidy";
const PREFIX = "tidegate-page-";
/** Delay before registration, because the worker loads all files of the page. */
const SETTLED_MS = 2_000;

interface Policies {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): { createScriptURL(url: string): unknown };
}

/**
 * The only place that creates a script URL. The policy has the only name that the page's Content-Security-Policy
 * allows, and is created when the page starts: no other script can create it, and it allows one address.
 */
const policy = makePolicy();

function makePolicy(): ReturnType<Policies["createPolicy"]> | undefined {
  const createScriptURL = (url: string) => {
    if (url !== ADDRESS) throw new TypeError(`${url} is no script of ours`);
    return url;
  };
  try {
    return (globalThis as { trustedTypes?: Policies }).trustedTypes?.createPolicy("tidegate", {
      createScriptURL,
    });
  } catch {
    // A proxy may send a stricter policy without this name: then the address is rejected, and the page works without
    // the worker.
    return undefined;
  }
}

interface Store {
  getState(): Pick<ChatStore, "config">;
  subscribe(changed: () => void): () => void;
}

async function register(container: ServiceWorkerContainer): Promise<void> {
  const address = (policy?.createScriptURL(ADDRESS) ?? ADDRESS) as string;
  const registration = await container.register(address, { updateViaCache: "none" });
  // Undefined if registration was blocked by other means.
  registration?.active?.postMessage(TIDY);
}

/** A worker outlives the demo, and would serve the next program at its address. */
async function remove(container: ServiceWorkerContainer): Promise<void> {
  for (const registration of await container.getRegistrations()) {
    const { active, waiting, installing } = registration;
    const script = (active ?? waiting ?? installing)?.scriptURL ?? "";
    if (new URL(script, window.location.href).pathname === ADDRESS) await registration.unregister();
  }
  for (const name of await caches.keys()) if (name.startsWith(PREFIX)) await caches.delete(name);
}

/**
 * The worker sent the browser there to sign in; under this address it would not find the page when the gateway is
 * unreachable.
 */
function leaveSignIn(): void {
  const { search, pathname, hash } = window.location;
  if (search === "?sign-in") window.history.replaceState(null, "", pathname + hash);
}

/** Without service workers (plain HTTP to another machine, a private window), the page works without. */
export function keepOffline(
  store: Store,
  container = navigator.serviceWorker as ServiceWorkerContainer | undefined,
): void {
  if (!container || !window.isSecureContext) return;
  leaveSignIn();
  let wasSimulated: boolean | undefined;
  const look = () => {
    const { config } = store.getState();
    if (!config || config.simulated === wasSimulated) return;
    wasSimulated = config.simulated;
    const act = () => void (config.simulated ? remove : register)(container).catch(() => undefined);
    setTimeout(act, config.simulated ? 0 : SETTLED_MS);
  };
  store.subscribe(look);
  look();
}
