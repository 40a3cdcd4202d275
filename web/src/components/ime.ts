/** Distinguishes an Enter that sends from one that confirms a Chinese, Japanese or Korean composition. */
export interface KeyLike {
  key: string;
  keyCode: number;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  isComposing: boolean;
}

/** Safari ends the composition first and reports the key after it, as 229. */
const AFTER_END_MS = 100;

export class ImeGuard {
  private isComposing = false;
  private endedAt = Number.NEGATIVE_INFINITY;

  start(): void {
    this.isComposing = true;
  }

  end(now: number): void {
    this.isComposing = false;
    this.endedAt = now;
  }

  /** The field lost focus: the composition is over. */
  blur(): void {
    this.isComposing = false;
  }

  /** Whether this key belongs to the composition. */
  owns(event: KeyLike, now: number): boolean {
    if (event.isComposing || this.isComposing) return true;
    return event.keyCode === 229 && now - this.endedAt < AFTER_END_MS;
  }

  isEnter(event: KeyLike, now: number): boolean {
    return event.key === "Enter" && !this.owns(event, now);
  }
}
