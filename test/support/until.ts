/**
 * Polls until `check` returns a truthy value; fails after `within` milliseconds. Tests wait for
 * facts, never for time; the bound is generous for a busy machine.
 */
export async function until<T> (check: () => T | Promise<T>, within = 20_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + within
  for (;;) {
    const value = await check()
    if (value) return value
    if (Date.now() > deadline) throw new Error(`not true within ${within} ms: ${check.toString()}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
