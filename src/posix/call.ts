import koffi from 'koffi';
import { errnoName, StillError } from '../errors.js';

/** A C function of the running program's own libc that answers -1 and sets errno when it fails. */
export interface SystemCall {
  /** Calls in this thread: only for what never waits. */
  now(subject: string, ...args: Argument[]): number;
  /** Calls in one of Node's pool threads. */
  later(subject: string, ...args: Argument[]): Promise<number>;
}

/** A string is passed as UTF-8; paths of any bytes go as a Uint8Array that ends with a NUL. */
export type Argument = number | bigint | string | Uint8Array | null;

const libc = koffi.load(null);
const EINTR = koffi.os.errno.EINTR;

/** Declares a function by its C prototype. `subject` in its calls is what an error's sentence speaks of. */
export function systemCall(prototype: string, name = functionName(prototype)): SystemCall {
  const call = libc.func(prototype);
  const failure = (subject: string): StillError => {
    const code = errnoName(koffi.errno());
    return new StillError(code, `${name} on ${subject} failed: ${code}`);
  };
  return {
    now(subject, ...args) {
      for (;;) {
        const result = Number(call(...args));
        if (result !== -1) return result;
        if (koffi.errno() !== EINTR) throw failure(subject);
      }
    },
    later(subject, ...args) {
      return new Promise((resolve, reject) => {
        const attempt = (): void =>
          call.async(...args, (error: Error | null, result: number | bigint) => {
            if (error) reject(error);
            else if (Number(result) !== -1) resolve(Number(result));
            else if (koffi.errno() === EINTR) attempt();
            else reject(failure(subject));
          });
        attempt();
      });
    },
  };
}

function functionName(prototype: string): string {
  return /(\w+)\s*\(/.exec(prototype)?.[1] ?? prototype;
}

/** The bytes of a path or name as C wants them. */
export function cString(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(bytes.length + 1);
  result.set(bytes);
  return result;
}
