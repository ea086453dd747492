import { z } from 'zod';
import { messageOf } from '../errors.js';
import { containerForms } from '../provider/container/container-archive.js';
import { ExcludePattern } from '../provider/container/exclude-pattern.js';
import { hookPhases } from '../provider/job/hooks.js';
import { guestSchema, guestSchemaOf } from './guest-schema.js';
import { idMap } from './id-range.js';
import { mountPath } from './mount-path.js';
import { plainName, plainNameRule } from './plain-name.js';
import { size } from './size.js';

export type { IdRange } from './id-range.js';
export { plainName as storeName, plainNameRule as storeNameRule };

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export const transports = ['kernel', 'fuse-native'] as const;
export type TransportName = (typeof transports)[number];

const path = z.string().min(1);

/** Taken apart again where it is used: what the configuration holds is text. */
const excludePattern = z.string().superRefine((text, context) => {
  try {
    ExcludePattern.parse(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
});

const store = z.strictObject({
  path,
  idMap: idMap.optional(),
  depth: z.int().min(1).max(1024).optional(),
});

/** The shape of a configuration file. */
export const fileSchema = z.strictObject({
  stores: z.record(z.string().regex(plainName, plainNameRule), store).optional(),
  guests: z.array(guestSchema).optional(),
  state: path.optional(),
  cache: z.strictObject({ folder: path.optional(), limit: size.optional() }).optional(),
  mount: z
    .strictObject({
      mountpoint: path.optional(),
      allowOther: z.boolean().optional(),
      openToOthers: z.boolean().optional(),
      readOnly: z.boolean().optional(),
      transport: z.enum(transports).optional(),
    })
    .optional(),
  backup: z
    .strictObject({
      hooks: z.partialRecord(z.enum(hookPhases), z.string().min(1)).optional(),
      /** Of containers. */
      archive: z.enum(containerForms).optional(),
      exclude: z.array(excludePattern).optional(),
      excludeMounts: z.array(mountPath).optional(),
    })
    .optional(),
  log: z.strictObject({ level: z.enum(logLevels).optional() }).optional(),
});

export type FileConfig = z.infer<typeof fileSchema>;

/** The keys that may stand at a place of a file's content; none where it takes names of the user's own, or no keys. */
export function keysAt(place: readonly PropertyKey[], content: unknown): readonly string[] {
  let schema: unknown = fileSchema;
  let value = content;
  for (const step of place) {
    value = memberOf(value, step);
    schema = unwrapped(schema);
    if (schema instanceof z.ZodObject) schema = schema.shape[String(step)];
    else if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodArray) schema = schema.element;
    else return [];
  }
  schema = unwrapped(schema);
  if (schema === guestSchema) schema = guestSchemaOf(memberOf(value, 'type'));
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema;
}
