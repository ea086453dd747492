import { randomInt } from 'node:crypto';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { z } from 'zod';
import { StillError } from '../../../errors.js';
import { boundedWait, type WaitLimits } from '../qmp/bounded-wait.js';
import { JsonStream } from '../qmp/json-stream.js';
import { faultsOf } from '../qmp/message.js';
import { QmpError } from '../qmp/qmp-error.js';

/** No answer that is asked for comes near it. */
const mostBytes = 1024 * 1024;
const mostWords = 300;
/** Ends whatever came before it, in both directions. */
const sentinel = Buffer.from([0xff]);

const failure = z.object({ error: z.object({ class: z.string(), desc: z.string() }) });

export interface AgentCommand<S extends z.ZodType> {
  readonly command: string;
  readonly schema: S;
  readonly limits: WaitLimits;
  /**
   * It is sent without waiting for a sign of life, in place of whatever is under way: the agent carries it out when it comes to it,
   * be that after the deadline. Other commands are sent to an agent that has just answered, or not at all.
   */
  readonly atOnce?: boolean;
  /** A command that is sent after it where it was sent and its answer not waited for to the end. */
  readonly undo?: string;
}

/**
 * One connection to a QEMU guest agent (QEMU's docs/interop/qemu-ga-ref): one command at a time, each after `guest-sync-delimited`,
 * for the channel may hold what was said to or by others before. Nothing that the guest says is trusted.
 */
export class AgentConnection {
  readonly #socket: Socket;
  readonly #stream = new JsonStream({ mostBytes, skipsNonsense: true });
  #end: StillError | undefined;
  #underWay: { take(message: object): void; reject(error: unknown): void } | undefined;

  /** On a Unix socket that is connected already. The descriptor is the connection's from now on. */
  constructor(
    descriptor: number,
    /** As the sentences of errors name it: `guest 100`. */
    readonly guest: string,
  ) {
    try {
      this.#socket = new Socket({ fd: descriptor, readable: true, writable: true });
    } catch (cause) {
      closeSync(descriptor);
      const what = `descriptor ${descriptor} is no socket of the agent of ${guest}`;
      throw new StillError('EINVAL', what, { cause });
    }
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', (cause) => this.#fail('ECONNRESET', 'failed', cause));
    this.#socket.on('close', () => this.#fail('ECONNRESET', 'was closed by QEMU'));
  }

  /**
   * Asks for a command and gives what it returns. QmpError where the agent refuses; ETIMEDOUT where it does not answer in time; EBUSY
   * while another command is under way, EPROTO where the answer makes no sense.
   */
  async execute<S extends z.ZodType>(asked: AgentCommand<S>): Promise<z.output<S>> {
    const message = await this.#ask(asked);
    const refusal = failure.safeParse(message);
    if (refusal.success) {
      const { class: errorClass, desc } = refusal.data.error;
      throw new QmpError(this.guest, asked.command, errorClass, printable(desc), 'the agent');
    }
    const answer = asked.schema.safeParse('return' in message ? message.return : undefined);
    if (answer.success && 'return' in message) return answer.data;
    const what = `the agent of ${this.guest} answers ${asked.command} unlike its documentation`;
    throw new StillError('EPROTO', `${what}${answer.error ? `: ${faultsOf(answer.error)}` : ''}`);
  }

  close(): void {
    this.#fail('ECANCELED', 'was closed');
  }

  #ask({ command, limits, atOnce = false, undo }: AgentCommand<z.ZodType>): Promise<object> {
    const id = randomInt(2 ** 47);
    let inStep = false;
    let answered = false;
    const late = (milliseconds: number): StillError => {
      const never = `does not answer (${milliseconds} ms): it does not run, or another program is using its socket`;
      const slow = `did not finish ${command} within ${milliseconds} ms; it may still do it`;
      return new StillError('ETIMEDOUT', `the agent of ${this.guest} ${inStep ? slow : never}`);
    };
    return boundedWait<object>(limits, late, (resolve, reject) => {
      if (this.#end || (this.#underWay && !atOnce)) {
        const what = `the agent of ${this.guest} can't do ${command} now: another command is under way`;
        reject(this.#end ?? new StillError('EBUSY', what));
        return () => undefined;
      }
      this.#underWay?.reject(
        new StillError('ECANCELED', `${command} took the place of what the agent of ${this.guest} was doing`),
      );
      const underWay = {
        take: (message: object): void => {
          if (inStep) {
            answered = true;
            resolve(message);
          } else if ('return' in message && message.return === id) {
            inStep = true;
            if (!atOnce) this.#socket.write(encode(command));
          }
        },
        reject,
      };
      this.#underWay = underWay;
      const sync = Buffer.concat([sentinel, encode('guest-sync-delimited', { id })]);
      this.#socket.write(atOnce ? Buffer.concat([sync, encode(command)]) : sync);
      return () => {
        if (this.#underWay === underWay) this.#underWay = undefined;
        if (undo !== undefined && inStep && !answered && !this.#end) this.#socket.write(encode(undo));
      };
    });
  }

  #take(chunk: Buffer): void {
    try {
      for (const message of this.#stream.take(chunk)) this.#underWay?.take(message);
    } catch (error) {
      this.#fail('EPROTO', 'is of no use', error);
    }
  }

  #fail(code: 'ECANCELED' | 'ECONNRESET' | 'EPROTO', how: string, cause?: unknown): void {
    if (this.#end) return;
    const options = cause === undefined ? {} : { cause };
    this.#end = new StillError(code, `the connection to the agent of ${this.guest} ${how}`, options);
    this.#socket.destroy();
    this.#underWay?.reject(this.#end);
  }
}

function encode(command: string, args?: object): Buffer {
  return Buffer.from(`${JSON.stringify({ execute: command, arguments: args })}\n`);
}

/** A guest's words, fit for a terminal. */
function printable(words: string): string {
  return words.replace(/\p{C}/gu, '?').slice(0, mostWords);
}
