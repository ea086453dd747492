import { z } from 'zod';
import { StillError } from '../../../errors.js';

// The shapes of QEMU's docs/interop/qmp-spec.rst. Members that are not read may be there.

const greeting = z.object({
  QMP: z.object({
    version: z.object({
      qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }),
      package: z.string(),
    }),
    capabilities: z.array(z.unknown()),
  }),
});
const event = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).default({}),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
});
const failure = z.object({
  id: z.unknown().optional(),
  error: z.object({ class: z.string(), desc: z.string() }),
});
const success = z.object({ id: z.unknown().optional(), return: z.unknown() });

/** Something that happened in QEMU: docs/interop/qemu-qmp-ref lists the events and their data. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When QEMU saw it; both -1 where its clock could not be read. */
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** What a QMP server sends, taken apart. `id` is whatever the command had. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  | {
      readonly kind: 'failure';
      readonly id: unknown;
      readonly errorClass: string;
      readonly description: string;
    }
  | { readonly kind: 'success'; readonly id: unknown; readonly value: unknown };

/** EPROTO where an object is no message of QMP. */
export function parseQmpMessage(message: object): QmpMessage {
  if ('event' in message) return { kind: 'event', event: parse(event, message) };
  if ('return' in message) {
    const { id, return: value } = parse(success, message);
    return { kind: 'success', id, value };
  }
  if ('error' in message) {
    const { id, error } = parse(failure, message);
    return { kind: 'failure', id, errorClass: error.class, description: error.desc };
  }
  const { version } = parse(greeting, message).QMP;
  const { major, minor, micro } = version.qemu;
  return {
    kind: 'greeting',
    version: `${major}.${minor}.${micro}${version.package && ` (${version.package})`}`,
  };
}

function parse<S extends z.ZodType>(schema: S, message: object): z.output<S> {
  const parsed = schema.safeParse(message);
  if (parsed.success) return parsed.data;
  throw new StillError('EPROTO', `it sends what is no message of QMP: ${faultsOf(parsed.error)}`);
}

/** The first faults that a schema found, for a sentence. */
export function faultsOf(error: z.ZodError): string {
  const faults = error.issues.map(({ path, message }) => `${path.join('.') || 'the whole'}: ${message}`);
  return faults.slice(0, 3).join('; ');
}
