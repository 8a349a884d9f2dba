/**
 * One guarantee of an interface, for any test runner: `for (const { name, run } of checks)
 * test(name, run)`.
 */
export interface ConformanceCheck {
  /** A sentence about behaviour. */
  readonly name: string
  /** Rejects with an AssertionError when the guarantee is broken. */
  run(): Promise<void>
}
