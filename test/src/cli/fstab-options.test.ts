import { describe, expect, it } from 'vitest';
import { parseFstabOptions } from '../../../src/cli/fstab-options.js';
import { ConfigError } from '../../../src/config/file.js';

describe('-o, as mount(8) and fstab give it', () => {
  it('says all that can be said of a mount', () => {
    const text =
      'ro,allow_other,open_to_others,store=nas=/net/nas,store=/usb,config=/c.yaml,' +
      'log_file=/l,log_level=debug,transport=fuse-native';
    expect(parseFstabOptions([text])).toEqual({
      stores: ['nas=/net/nas', '/usb'],
      config: '/c.yaml',
      transport: 'fuse-native',
      logLevel: 'debug',
      logFile: '/l',
      allowOther: true,
      openToOthers: true,
      readOnly: true,
    });
  });

  it('may be given several times, and the last word counts', () => {
    expect(parseFstabOptions(['rw,store=/a', 'ro,store=/b', 'config=/x,config=/y'])).toEqual({
      stores: ['/a', '/b'],
      readOnly: true,
      config: '/y',
    });
    expect(parseFstabOptions(['ro', 'rw'])).toEqual({ stores: [], readOnly: false });
  });

  it('says nothing of what it does not name', () => {
    expect(parseFstabOptions([])).toEqual({ stores: [] });
    expect(parseFstabOptions([''])).toEqual({ stores: [] });
  });

  it('takes what is for mount(8), systemd and other readers of fstab', () => {
    const text =
      'defaults,auto,noauto,user,users,nouser,nofail,_netdev,nosuid,nodev,noatime,x-systemd.automount,' +
      'x-systemd.requires=nas.mount,comment=mine,suid,dev,noexec,exec,async,default_permissions';
    expect(parseFstabOptions([text])).toEqual({ stores: [] });
  });

  it.each([
    ['bogus', '-o bogus: unknown option; known: ro, rw, allow_other, open_to_others, store, config, '],
    ['alow_other', '-o alow_other: unknown option (did you mean "allow_other"?)'],
    ['allow_other=1', '-o allow_other=1: unknown option (did you mean "allow_other"?)'],
    ['stores=/a', '-o stores=/a: unknown option (did you mean "store"?)'],
    ['sync', '-o sync: unknown option'],
    ['RO', '-o RO: unknown option (did you mean "ro"?)'],
    [' ro', '-o  ro: unknown option (did you mean "ro"?)'],
    ['store', '-o store: expected store=VALUE'],
    ['store=', '-o store: expected store=VALUE'],
    ['log_level=loud', '-o log_level=loud: expected one of trace, debug, info, warn, error, fatal, silent'],
    ['transport=kernal', 'expected one of kernel, fuse-native (did you mean "kernel"?)'],
  ])('refuses %s by its name', (option, message) => {
    expect(() => parseFstabOptions([`ro,${option},rw`])).toThrow(ConfigError);
    expect(() => parseFstabOptions([`ro,${option},rw`])).toThrow(message);
  });

  it.each([
    'constructor',
    'toString',
    '__proto__',
    'valueOf=1',
  ])('knows no %s, which objects have', (option) => {
    expect(() => parseFstabOptions([option])).toThrow(`-o ${option}: unknown option`);
  });
});
