/**
 * The service worker: serves the page when the gateway is unreachable, and does nothing else. It never handles the
 * page's requests to the gateway (`/api`, `/chat`, …). It never reloads a page; a new version replaces an old one
 * silently.
 */

/** The part of the service worker API that is used here. */
export interface Scope {
  readonly location: { readonly origin: string };
  readonly caches: CacheStorage;
  readonly clients: {
    matchAll(options: { type: "window"; includeUncontrolled: boolean }): Promise<readonly unknown[]>;
    claim(): Promise<void>;
  };
  fetch(request: RequestInfo, init?: RequestInit): Promise<Response>;
  skipWaiting(): Promise<void>;
}

/** Message of a page that has just started. */
export const TIDY = "tidy";

export const PREFIX = "tidegate-page-";
const INDEX = "/";
const ASSETS = "/assets/";
/** Left to the browser, like every address with a query: it can ask the user for a name and a password there. */
const SIGN_IN = "/?sign-in";
/** Timeout after which the gateway counts as unreachable. */
export const PATIENCE_MS = 3_000;
/** Caches kept for open pages of older releases, which may still load parts. */
const CACHES_MAX = 3;
/** Maximum number of unlisted files, such as the maths font or parts of an older page; more are not cached. */
const EXTRA_MAX = 100;

export class Worker {
  private readonly name: string;
  private readonly listed: Set<string>;

  /** `files`: addresses of all files except the index; `build`: digest of them. */
  constructor(
    private readonly scope: Scope,
    private readonly files: readonly string[],
    build: string,
    private readonly patienceMs = PATIENCE_MS,
  ) {
    this.name = PREFIX + build;
    this.listed = new Set(files);
  }

  /** All or nothing: an incomplete release is not kept. */
  async install(): Promise<void> {
    const cache = await this.scope.caches.open(this.name);
    const index = await this.fresh(INDEX);
    const text = await index.clone().text();
    // During a rolling update, the index may belong to another release.
    const missing = [...text.matchAll(/"(\/assets\/[^"]+)"/g)].find(
      ([, path]) => !this.listed.has(path ?? ""),
    );
    if (missing) throw new Error(`${missing[1]} is of another release`);
    await Promise.all(
      this.files.map(async (path) => {
        const isHashed = path.startsWith(ASSETS);
        await cache.put(path, isHashed ? await whole(this.scope.fetch(path)) : await this.fresh(path));
      }),
    );
    // Last, so that its presence proves a complete release.
    await cache.put(INDEX, index);
    await this.scope.skipWaiting();
  }

  async activate(): Promise<void> {
    await this.tidy(0);
    await this.scope.clients.claim();
  }

  /** Deletes the files of older releases when no page can need them. `pagesMax`: open pages that are known to be new. */
  async tidy(pagesMax: number): Promise<void> {
    const { caches, clients } = this.scope;
    const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
    const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== this.name);
    const kept = pages.length <= pagesMax ? 0 : CACHES_MAX - 1;
    const gone = older.slice(0, Math.max(0, older.length - kept));
    await Promise.all(gone.map((name) => caches.delete(name)));
  }

  /** Undefined: the browser handles the request itself. */
  answer(request: Pick<Request, "method" | "mode" | "url">): Promise<Response> | undefined {
    const { origin, pathname, search } = new URL(request.url);
    if (request.method !== "GET" || origin !== this.scope.location.origin) return undefined;
    if (request.mode === "navigate") {
      return pathname === INDEX && search === "" ? this.page(request as Request) : undefined;
    }
    if (pathname.startsWith(ASSETS)) return this.asset(request as Request, pathname);
    return this.listed.has(pathname) ? this.other(request as Request, pathname) : undefined;
  }

  /** From the gateway, unless it is unreachable. */
  private async page(request: Request): Promise<Response> {
    const cached = await this.cached(INDEX);
    if (!cached) return this.scope.fetch(request);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<Response>((resolve) => {
      timer = setTimeout(() => resolve(cached), this.patienceMs);
    });
    const asked = this.scope.fetch(request).then(
      (response) => {
        // A browser does not ask for a password on behalf of a worker.
        if (response.status === 401) return redirect(SIGN_IN);
        // A proxy's response without a gateway.
        return response.status >= 500 ? cached : response;
      },
      () => cached,
    );
    const answer = await Promise.race([asked, late]);
    clearTimeout(timer);
    return answer;
  }

  /** Its name changes with its content, so a cached copy is always right. */
  private async asset(request: Request, path: string): Promise<Response> {
    const kept = (await this.cached(path)) ?? (await this.scope.caches.match(path));
    if (kept) return kept;
    const response = await this.scope.fetch(request);
    if (response.ok && !response.redirected) await this.keep(path, response.clone());
    return response;
  }

  private async other(request: Request, path: string): Promise<Response> {
    try {
      return await whole(this.scope.fetch(request));
    } catch (error) {
      const kept = await this.cached(path);
      if (kept) return kept;
      throw error;
    }
  }

  private async keep(path: string, response: Response): Promise<void> {
    try {
      const cache = await this.scope.caches.open(this.name);
      const isRoom = (await cache.keys()).length < this.files.length + EXTRA_MAX;
      if (isRoom) await cache.put(path, response);
    } catch {
      // Full: it is loaded again next time.
    }
  }

  private async cached(path: string): Promise<Response | undefined> {
    const cache = await this.scope.caches.open(this.name);
    return cache.match(path);
  }

  private fresh(path: string): Promise<Response> {
    return whole(this.scope.fetch(path, { cache: "no-cache" }));
  }
}

const redirect = (address: string) => new Response(null, { status: 302, headers: { location: address } });

/** A redirect is not accepted in place of a page. */
async function whole(asked: Promise<Response>): Promise<Response> {
  const response = await asked;
  if (!response.ok || response.redirected) throw new Error(`status ${response.status}`);
  return response;
}
