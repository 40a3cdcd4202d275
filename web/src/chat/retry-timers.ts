/** Delayed actions, cancelled when the page is closed. */
export class RetryTimers {
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();

  later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, ms);
    this.timers.add(timer);
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
  }
}
