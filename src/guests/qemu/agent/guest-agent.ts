import { z } from 'zod';
import { StillError } from '../../../errors.js';
import type { WaitLimits } from '../qmp/bounded-wait.js';
import { connectToSingleClientSocket, nobodyListens } from '../qmp/single-client-socket.js';
import { AgentConnection } from './agent-connection.js';

const answerMilliseconds = 5_000;
const freezeMilliseconds = 10_000;
const thaw = 'guest-fsfreeze-thaw';

/**
 * The agent inside a guest (qemu-ga), as far as a snapshot needs it. Its socket serves one client at a time, and there is no greeting:
 * an agent that does not run and a socket that is in use look the same, like silence. Each call fails with ETIMEDOUT then: after 5 s,
 * a freeze after 10 s, or as the caller says.
 */
export class GuestAgent {
  readonly #connection: AgentConnection;

  private constructor(connection: AgentConnection) {
    this.#connection = connection;
  }

  /** Connects to the socket of the agent's channel. ENOENT: nobody listens. Whether there is an agent, `ping` tells. */
  static async connect(path: string, guest: string, limits: WaitLimits = {}): Promise<GuestAgent> {
    const { signal, deadlineMilliseconds = answerMilliseconds } = limits;
    const subject = `the agent of ${guest}`;
    try {
      return GuestAgent.open(
        await connectToSingleClientSocket(path, subject, { signal, deadlineMilliseconds }),
        guest,
      );
    } catch (cause) {
      if (!nobodyListens(cause)) throw cause;
      throw new StillError('ENOENT', `${subject} can't be reached: nobody listens at ${path}`, { cause });
    }
  }

  /** The same on a Unix socket that is connected already. The descriptor is the agent's from now on. */
  static open(descriptor: number, guest: string): GuestAgent {
    return new GuestAgent(new AgentConnection(descriptor, guest));
  }

  async ping(limits?: WaitLimits): Promise<void> {
    await this.#connection.execute({
      command: 'guest-ping',
      schema: z.unknown(),
      limits: { deadlineMilliseconds: answerMilliseconds, ...limits },
    });
  }

  /**
   * Freezes the guest's file systems and says how many. It is asked for only when the agent has just answered, so that none is left
   * for an agent that starts later. Where its answer is not waited for to the end (deadline, abort), a thaw is sent after it; call `thaw`
   * all the same, to know. Keep the connection until then. An agent that refuses has thawed what it had frozen.
   */
  freeze(limits?: WaitLimits): Promise<number> {
    return this.#connection.execute({
      command: 'guest-fsfreeze-freeze',
      schema: z.int(),
      limits: { deadlineMilliseconds: freezeMilliseconds, ...limits },
      undo: thaw,
    });
  }

  /**
   * Thaws the guest's file systems and says how many. It is sent at once, also while a freeze is under way (which fails with
   * ECANCELED) or where the agent seems dead: it does it when it gets to it. Nothing happens where nothing is frozen.
   */
  thaw(limits?: WaitLimits): Promise<number> {
    return this.#connection.execute({
      command: thaw,
      schema: z.int(),
      limits: { deadlineMilliseconds: answerMilliseconds, ...limits },
      atOnce: true,
    });
  }

  /** Whether file systems are frozen, as far as the agent knows: by it. */
  status(limits?: WaitLimits): Promise<'frozen' | 'thawed'> {
    return this.#connection.execute({
      command: 'guest-fsfreeze-status',
      schema: z.enum(['frozen', 'thawed']),
      limits: { deadlineMilliseconds: answerMilliseconds, ...limits },
    });
  }

  /** Lets the channel go. What waits fails with ECANCELED. It thaws nothing. */
  close(): void {
    this.#connection.close();
  }
}
