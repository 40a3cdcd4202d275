/** Registers the service worker, so that a reload without the gateway shows the page; takes it away where answers are made up. */
import type { ChatStore } from "../chat/contract";

const ADDRESS = "/sw.js";
// The worker's own words, written once more: what the page imports of it would make it more than one file.
const TIDY = "tidy";
const PREFIX = "tidegate-page-";
/** What is on the screen comes first: the worker loads all files of the page. */
const SETTLED_MS = 2_000;

interface Policies {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): { createScriptURL(url: string): unknown };
}

/**
 * The one place from which a script is named by a text. The policy has the only name that the page's Content-Security-Policy allows,
 * and is made when the page starts: nobody else can make it, and it passes one address.
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
    // A proxy sends a stricter policy of its own, which allows no name: then the address is refused, and the page works without.
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
  // Nothing, where registration was blocked by other means.
  registration?.active?.postMessage(TIDY);
}

/** A worker outlives the demo: what is started next on its address would meet it. */
async function remove(container: ServiceWorkerContainer): Promise<void> {
  for (const registration of await container.getRegistrations()) {
    const { active, waiting, installing } = registration;
    const script = (active ?? waiting ?? installing)?.scriptURL ?? "";
    if (new URL(script, window.location.href).pathname === ADDRESS) await registration.unregister();
  }
  for (const name of await caches.keys()) if (name.startsWith(PREFIX)) await caches.delete(name);
}

/** The worker sent the browser there to sign in; at this address it would not find the page when the gateway is away. */
function leaveSignIn(): void {
  const { search, pathname, hash } = window.location;
  if (search === "?sign-in") window.history.replaceState(null, "", pathname + hash);
}

/** Where there is no such thing (plain HTTP to another machine, a private window), the page works without. */
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
