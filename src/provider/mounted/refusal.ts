import { hasCode, messageOf } from '../../errors.js';

/** Why a mount refused to take a snapshot, or to end one: the kernel passes on a number alone. */
export function whyRefused(error: unknown): string {
  if (hasCode(error, 'EBUSY'))
    return 'the guest has another snapshot open, an earlier one is not gone yet, or another program uses its QEMU';
  if (hasCode(error, 'EEXIST')) return 'there is one of that name';
  if (hasCode(error, 'EHOSTUNREACH')) return 'the guest is off';
  if (hasCode(error, 'ETIMEDOUT'))
    return 'the guest or its agent did not answer in time; nothing is left of it';
  return messageOf(error);
}
