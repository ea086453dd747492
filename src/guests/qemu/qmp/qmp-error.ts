import { type ErrnoName, StillError } from '../../../errors.js';

/** QEMU's qapi/error.json has no other classes; nearly every error is a GenericError. */
const errnoOfClass: Readonly<Record<string, ErrnoName>> = {
  GenericError: 'EIO',
  CommandNotFound: 'EOPNOTSUPP',
  DeviceNotActive: 'ENXIO',
  DeviceNotFound: 'ENODEV',
  KVMMissingCap: 'EOPNOTSUPP',
};

/** A command that a guest's QEMU, or the agent in it, was asked for and refused. The connection goes on. */
export class QmpError extends StillError {
  constructor(
    /** As the sentences of errors name it: `guest 100`. */
    readonly guest: string,
    readonly command: string,
    /** `GenericError`, `CommandNotFound`, `DeviceNotFound`… */
    readonly errorClass: string,
    /** QEMU's own words. */
    readonly description: string,
    who = 'QEMU',
  ) {
    super(errnoOfClass[errorClass] ?? 'EIO', `${who} of ${guest} refused ${command}: ${description}`);
  }
}

/** Nobody listens where a guest's QEMU would (ENOENT): it is off. For many questions that is an answer, not an error. */
export class GuestIsOff extends StillError {
  constructor(guest: string, path: string, cause: unknown) {
    super('ENOENT', `${guest} is off: nobody listens at ${path}`, { cause });
  }
}
