import koffi from 'koffi';
import { StillError } from '../../errors.js';
import { QueueDepth } from '../../queue-depth.js';

// openssl/evp.h. Node has OpenSSL in itself, and shows its functions to addons.
const openssl = koffi.load(null);
const algorithm: unknown = openssl.func('void *EVP_sha256()')();
const digest = openssl.func(
  'int EVP_Digest(const void *data, size_t count, void *result, void *size, void *algorithm, void *engine)',
);
const resultBytes = 32;
/** More gain nothing, and the thread pool is there for reading and writing, too. */
const underWay = new QueueDepth(32);

/**
 * The SHA-256 of bytes, which must not change before it is there. Computed in the thread pool, several at a time, and where the bytes
 * lie: Web Crypto makes a copy first, in the main thread, which takes half as long again.
 */
export function sha256(bytes: Uint8Array): Promise<Buffer> {
  return underWay.run(
    () =>
      new Promise((resolve, reject) => {
        const result = Buffer.alloc(resultBytes);
        // Named in here, the bytes stay as long as OpenSSL reads them.
        const ended = (error: Error | null, done: number): void => {
          if (error) reject(error);
          else if (done === 1) resolve(result);
          else reject(new StillError('EIO', `OpenSSL makes no SHA-256 of ${bytes.length} bytes`));
        };
        digest.async(bytes, bytes.length, result, null, algorithm, null, ended);
      }),
  );
}
