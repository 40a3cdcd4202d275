/** Detects compositions in a field. */
import { type KeyboardEvent, useMemo, useRef } from "react";
import { ImeGuard } from "./ime";

export function useIme() {
  const guard = useRef<ImeGuard | null>(null);
  guard.current ??= new ImeGuard();
  return useMemo(() => {
    const own = guard.current as ImeGuard;
    return {
      /** Event handlers for the field. */
      fieldProps: {
        onCompositionStart: () => own.start(),
        onCompositionEnd: () => own.end(performance.now()),
        onBlur: () => own.blur(),
      },
      owns: (event: KeyboardEvent) => own.owns(event.nativeEvent, performance.now()),
      isEnter: (event: KeyboardEvent) => own.isEnter(event.nativeEvent, performance.now()),
    };
  }, []);
}
