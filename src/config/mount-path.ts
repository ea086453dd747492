import { z } from 'zod';

export const mountPathRule = 'expected a path in the container: /srv/data';

/** Where something is mounted in a container, without a `/` at its end. */
export const mountPath = z
  .string()
  .regex(/^\/[^/]/, mountPathRule)
  .transform((text) => text.replace(/\/+$/, ''));
