import { Socket } from 'node:net';
import { StillError } from '../../src/errors.js';
import { systemCall } from '../../src/posix/call.js';

const fcntl = systemCall('int fcntl(int descriptor, int command, long argument)');
const F_DUPFD_CLOEXEC = 1030;

/** The part of Node's stream handles that is needed: libuv's uv_pipe_t, which polls any descriptor that can be polled. */
type PipeHandle = object & { open(descriptor: number): number };

/**
 * Node offers no way to poll a descriptor that is neither a file nor a socket, except the handle class beneath its
 * own pipes. Undefined where this Node does not give it away any more.
 */
function newPipeHandle(): PipeHandle | undefined {
  const binding: unknown = Reflect.get(process, 'binding');
  if (typeof binding !== 'function') return undefined;
  try {
    const wrap: unknown = Reflect.apply(binding, process, ['pipe_wrap']);
    if (typeof wrap !== 'object' || wrap === null) return undefined;
    const Pipe: unknown = Reflect.get(wrap, 'Pipe');
    const constants: unknown = Reflect.get(wrap, 'constants');
    if (typeof Pipe !== 'function' || typeof constants !== 'object' || constants === null) return undefined;
    const handle: unknown = Reflect.construct(Pipe, [Reflect.get(constants, 'SOCKET')]);
    return isPipeHandle(handle) ? handle : undefined;
  } catch {
    // A Node that refuses the binding is one without it.
    return undefined;
  }
}

function isPipeHandle(handle: unknown): handle is PipeHandle {
  return typeof handle === 'object' && handle !== null && typeof Reflect.get(handle, 'open') === 'function';
}

/** Whether this Node can poll a descriptor of any kind. */
export function canPoll(): boolean {
  return newPipeHandle() !== undefined;
}

/**
 * Reads from a descriptor whenever the event loop finds it ready, so that no thread waits for it. Each message goes to
 * `receive`, in a buffer that is used again for the next one. Rejects with the system's error when a read fails;
 * settles when the descriptor ends or `signal` is aborted. The descriptor stays the caller's, but does not block any more.
 */
export function readPolled(
  descriptor: number,
  buffer: Buffer,
  receive: (message: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const handle = newPipeHandle();
  if (!handle) throw new StillError('ENOSYS', 'this Node can not poll a device');
  // The stream closes what it reads from; the caller's own descriptor is not to go with it.
  const own = fcntl.now(`descriptor ${descriptor}`, descriptor, F_DUPFD_CLOEXEC, 0);
  const refused = handle.open(own);
  if (refused !== 0)
    throw new StillError('EIO', `descriptor ${descriptor} can not be polled (libuv error ${refused})`);
  const options = {
    handle,
    readable: true,
    writable: false,
    signal,
    onread: {
      buffer,
      callback: (length: number) => {
        receive(buffer.subarray(0, length));
        return true;
      },
    },
  };
  return new Promise((resolve, reject) => {
    const stream = new Socket(options);
    stream.on('error', (error) => (signal.aborted ? resolve() : reject(error)));
    stream.on('close', () => resolve());
    stream.resume();
  });
}
