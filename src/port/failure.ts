import { codeOf, type ErrnoName, isAbort, messageOf, StillError } from '../errors.js';
import { fields, text, unexpected } from './fields.js';

/** An error as it crosses the port. `defect`: no errno was meant, something in the program is wrong. */
export type Failure =
  | { readonly kind: 'error'; readonly code: ErrnoName; readonly message: string }
  | { readonly kind: 'abort' }
  | { readonly kind: 'defect'; readonly message: string; readonly stack: string | undefined };

export function failureOf(error: unknown): Failure {
  if (isAbort(error)) return { kind: 'abort' };
  // EIO is what stands for an error without an errno of its own, too.
  const code = codeOf(error);
  const named = code !== 'EIO' || (error instanceof Error && 'code' in error && error.code === 'EIO');
  if (named) return { kind: 'error', code, message: messageOf(error) };
  return {
    kind: 'defect',
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
  };
}

/** The error that a failure stands for; `aborted` is the reason of the signal that may have caused it. */
export function errorOf(failure: Failure, aborted: unknown): unknown {
  switch (failure.kind) {
    case 'error':
      return new StillError(failure.code, failure.message);
    case 'abort':
      return aborted ?? new StillError('EINTR', 'the other thread gave up an operation that nobody aborted');
    case 'defect': {
      const error = new Error(failure.message);
      if (failure.stack !== undefined) error.stack = failure.stack;
      return error;
    }
  }
}

export function parseFailure(value: unknown): Failure {
  const from = fields(value);
  switch (from.kind) {
    case 'error': {
      const code = text(from.code, 'code');
      const known = codeOf(Object.assign(new Error(), { code }));
      return { kind: 'error', code: known, message: text(from.message, 'message') };
    }
    case 'abort':
      return { kind: 'abort' };
    case 'defect':
      return {
        kind: 'defect',
        message: text(from.message, 'message'),
        stack: from.stack === undefined ? undefined : text(from.stack, 'stack'),
      };
    default:
      return unexpected('failure');
  }
}
