import { z } from 'zod';
import type { WaitLimits } from './bounded-wait.js';
import type { QmpConnection } from './connection.js';

// SchemaInfo of QEMU's qapi/introspect.json. Meta-types that are not read (builtin, and any newer one) keep their name alone.
const member = z.object({ name: z.string(), type: z.string() });
const types = z.array(
  z.object({
    name: z.string(),
    'meta-type': z.string(),
    'arg-type': z.string().optional(),
    'element-type': z.string().optional(),
    tag: z.string().optional(),
    variants: z.array(z.object({ case: z.string(), type: z.string() })).optional(),
    values: z.array(z.string()).optional(),
    // Of an object: name and type; of an alternate: type; of an enumeration: name.
    members: z
      .array(z.union([member, z.object({ type: z.string() }), z.object({ name: z.string() })]))
      .optional(),
  }),
);
type Member = z.output<typeof member>;
type SchemaType = z.output<typeof types>[number];

/**
 * Which branch is meant where what may be given depends on another argument: the path of that argument and its value, as in
 * `{driver: 'copy-before-write'}` or `{'addr.type': 'fd'}`. Branches that are not chosen all count.
 */
export type Branches = Readonly<Record<string, string>>;

/** What a QEMU understands, as `query-qmp-schema` tells: ask this, not the version. */
export class QmpSchema {
  readonly #types = new Map<string, SchemaType>();
  readonly #commands = new Map<string, SchemaType>();
  readonly #events = new Set<string>();

  private constructor(all: readonly SchemaType[]) {
    for (const type of all) {
      if (type['meta-type'] === 'command') this.#commands.set(type.name, type);
      else if (type['meta-type'] === 'event') this.#events.add(type.name);
      else this.#types.set(type.name, type);
    }
  }

  /** Asks once for each connection, for about 200 KB. A guest that is started anew may run another QEMU. */
  static async of(connection: QmpConnection, limits: WaitLimits = {}): Promise<QmpSchema> {
    const known = asked.get(connection);
    if (known) return known;
    const schema = new QmpSchema(await connection.execute('query-qmp-schema', undefined, types, limits));
    asked.set(connection, schema);
    return schema;
  }

  hasCommand(command: string): boolean {
    return this.#commands.has(command);
  }

  hasEvent(event: string): boolean {
    return this.#events.has(event);
  }

  /**
   * Whether a command takes an argument, by its path: `hasArgument('blockdev-add', 'cbw-timeout', {driver: 'copy-before-write'})`,
   * `hasArgument('block-export-add', 'bitmaps.node', {type: 'nbd'})`; a list's path is that of its elements.
   */
  hasArgument(command: string, path: string, branches: Branches = {}): boolean {
    return this.#at(command, path, branches).length > 0;
  }

  /** Whether one of an argument's values is known: `hasValue('transaction', 'actions.type', 'block-dirty-bitmap-merge')`. */
  hasValue(command: string, path: string, value: string, branches: Branches = {}): boolean {
    return this.#at(command, path, branches).some((type) => valuesOf(type).includes(value));
  }

  /** The types that an argument can have; none where there is no such argument. */
  #at(command: string, path: string, branches: Branches): SchemaType[] {
    const args = this.#commands.get(command)?.['arg-type'];
    let here = args === undefined ? [] : this.#plain(args);
    let way = '';
    for (const step of path.split('.')) {
      const members = here.flatMap((type) => this.#membersOf(type, way, branches));
      const found = members.filter(({ name }) => name === step).flatMap(({ type }) => this.#plain(type));
      // Block nodes hold block nodes: many branches lead to one type.
      here = [...new Set(found)];
      way += `${step}.`;
    }
    return here;
  }

  /** The members of an object, with those of its branches that are meant. */
  #membersOf(
    type: SchemaType,
    way: string,
    branches: Branches,
    above: ReadonlySet<SchemaType> = new Set(),
  ): Member[] {
    const own = (type.members ?? []).flatMap((each) => ('name' in each && 'type' in each ? [each] : []));
    const chosen = type.tag === undefined ? undefined : branches[way + type.tag];
    if (chosen !== undefined) {
      const tag = own.find(({ name }) => name === type.tag);
      const known = tag && this.#plain(tag.type).some((values) => valuesOf(values).includes(chosen));
      if (!known) return [];
    }
    const within = new Set(above).add(type);
    const meant = (type.variants ?? [])
      .filter((variant) => chosen === undefined || variant.case === chosen)
      .flatMap((variant) => this.#plain(variant.type))
      .filter((branch) => !within.has(branch));
    return [...own, ...meant.flatMap((branch) => this.#membersOf(branch, way, branches, within))];
  }

  /** A type by its name; instead of a list its elements', instead of an alternate all that it can be. */
  #plain(name: string, above: ReadonlySet<string> = new Set()): SchemaType[] {
    const type = this.#types.get(name);
    if (!type || above.has(name)) return [];
    const within = new Set(above).add(name);
    if (type['meta-type'] === 'array') return this.#plain(type['element-type'] ?? '', within);
    if (type['meta-type'] !== 'alternate') return [type];
    return (type.members ?? []).flatMap((each) => ('type' in each ? this.#plain(each.type, within) : []));
  }
}

const asked = new WeakMap<QmpConnection, QmpSchema>();

/** An enumeration's values: `members` since QEMU 6.2, `values` before. */
function valuesOf(type: SchemaType): string[] {
  if (type['meta-type'] !== 'enum') return [];
  return type.values ?? (type.members ?? []).flatMap((each) => ('name' in each ? [each.name] : []));
}
