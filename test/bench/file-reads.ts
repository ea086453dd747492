import { execa } from 'execa';
import { alternate, type Contender } from './measure.js';
import type { Row } from './report.js';

export async function row(
  title: string,
  unit: string,
  all: readonly Contender[],
  rounds: number,
): Promise<Row> {
  return { title, unit, higherIsBetter: true, measured: await alternate(all, rounds) };
}

export function contenders(
  files: Readonly<Record<string, string>>,
  read: (file: string) => Promise<number>,
): Contender[] {
  return Object.entries(files).map(([name, file]) => ({ name, run: () => read(file) }));
}

/** MB/s of reading a whole file, its own cached pages dropped before. */
export async function sequentialRead(file: string, direct: boolean): Promise<number> {
  await execa('dd', [`if=${file}`, 'of=/dev/null', 'iflag=nocache', 'count=0', 'status=none']);
  const { stderr } = await execa(
    'dd',
    [`if=${file}`, 'of=/dev/null', 'bs=1M', ...(direct ? ['iflag=direct'] : [])],
    {
      env: { LC_ALL: 'C' },
    },
  );
  const [, bytes, time] = /(\d+) bytes .* copied, ([\d.]+) s/.exec(stderr) ?? [];
  return Number(bytes) / 1e6 / Number(time);
}

/** Random 4 KiB reads a second, for two seconds; fio drops the file's cached pages before. */
export async function randomRead(file: string, direct: boolean, jobs: number): Promise<number> {
  const { stdout } = await execa('fio', [
    ...['--name=random', `--filename=${file}`, '--rw=randread', '--bs=4k', '--ioengine=psync', '--readonly'],
    ...[
      `--direct=${direct ? 1 : 0}`,
      '--runtime=2',
      '--time_based',
      `--numjobs=${jobs}`,
      '--group_reporting',
    ],
    '--output-format=json',
  ]);
  const report: { jobs: Array<{ read: { iops: number } }> } = JSON.parse(stdout.slice(stdout.indexOf('{')));
  return report.jobs[0]?.read.iops ?? Number.NaN;
}
