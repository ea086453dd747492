/**
 * Works off what a generator gives, several items at a time, each lane with a worker of its own. The first failure ends all lanes, and
 * nothing is under way any more when the caller hears of it.
 */
export async function inLanes<Item>(
  items: AsyncGenerator<Item, void, undefined>,
  lanes: number,
  makeWorker: () => (item: Item) => Promise<void>,
): Promise<void> {
  let failed = false;
  const lane = async (): Promise<void> => {
    const work = makeWorker();
    try {
      // A generator that is asked by several at once answers one after another.
      for (let next = await items.next(); !next.done && !failed; next = await items.next())
        await work(next.value);
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const results = await Promise.allSettled(Array.from({ length: lanes }, lane));
  await items.return();
  const first = results.find((result) => result.status === 'rejected');
  if (first) throw first.reason;
}
