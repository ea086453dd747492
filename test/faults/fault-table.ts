import { appendFileSync } from 'node:fs';

/** What was done to a guest's snapshots on purpose, and what came of it: printed when a file of tests is through. */
export class FaultTable {
  readonly #rows: Array<readonly [string, string]> = [];

  /** Does something that is a fault, and notes how it went; `evidence` is printed where it went wrong. */
  async during<T>(fault: string, work: () => Promise<T>, evidence: () => string): Promise<T> {
    try {
      const result = await work();
      this.note(fault, typeof result === 'string' ? result : 'right');
      return result;
    } catch (error) {
      process.stdout.write(`\n${fault}: ${evidence()}\n`);
      this.note(fault, `WRONG: ${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)}`);
      throw error;
    }
  }

  /** Where STILLFS_FAULT_TABLE names a file it is added there at once. */
  note(fault: string, result: string): void {
    this.#rows.push([fault, result]);
    const file = process.env.STILLFS_FAULT_TABLE;
    if (file) appendFileSync(file, `${fault}: ${result}\n`);
  }

  print(title: string): void {
    const width = Math.max(0, ...this.#rows.map(([fault]) => fault.length));
    const lines = this.#rows.map(([fault, result]) => `  ${fault.padEnd(width)}  ${result}\n`);
    process.stdout.write(`\n${title}\n${lines.join('')}`);
  }
}
