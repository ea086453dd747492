import { z } from 'zod';
import { guestSchema, plainName, plainNameRule } from './guest-schema.js';

export { plainName as storeName, plainNameRule as storeNameRule };

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export const transports = ['kernel', 'fuse-native'] as const;
export type TransportName = (typeof transports)[number];

const id = z.int().min(0).max(0xffff_fffe);
const path = z.string().min(1);

const idRange = z.strictObject({
  inside: id,
  outside: id,
  count: z.int().min(1).max(0xffff_ffff),
});

const store = z.strictObject({
  path,
  idMap: z.array(idRange).min(1).optional(),
  depth: z.int().min(1).max(1024).optional(),
});

/** The shape of a configuration file. */
export const fileSchema = z.strictObject({
  stores: z.record(z.string().regex(plainName, plainNameRule), store).optional(),
  guests: z.array(guestSchema).optional(),
  state: path.optional(),
  mount: z
    .strictObject({
      mountpoint: path.optional(),
      allowOther: z.boolean().optional(),
      openToOthers: z.boolean().optional(),
      readOnly: z.boolean().optional(),
      transport: z.enum(transports).optional(),
    })
    .optional(),
  log: z.strictObject({ level: z.enum(logLevels).optional() }).optional(),
});

export type FileConfig = z.infer<typeof fileSchema>;
export type IdRange = z.infer<typeof idRange>;

/** The keys that may stand at a place of the file; none where the place takes names of the user's own, or no keys. */
export function keysAt(place: readonly PropertyKey[]): readonly string[] {
  let schema: unknown = fileSchema;
  for (const step of place) {
    schema = unwrapped(schema);
    if (schema instanceof z.ZodObject) schema = schema.shape[String(step)];
    else if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodArray) schema = schema.element;
    else return [];
  }
  schema = unwrapped(schema);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema;
}
