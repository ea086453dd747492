/** Gives how much of the processor's time this process has taken since, in milliseconds: a loaded machine does not count. */
export function processorTime(): () => number {
  const begun = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1000;
  };
}
