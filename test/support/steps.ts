/** Every built-in that visits the elements of a collection, with the number of elements. */
const visits: [object, string, (collection: never) => number][] = [
  [iteratorOf(new Map()), 'next', () => 1],
  [iteratorOf(new Set()), 'next', () => 1],
  [iteratorOf([]), 'next', () => 1],
  ...['filter', 'find', 'findIndex', 'flat', 'indexOf', 'map', 'reduce', 'shift', 'some', 'splice', 'unshift']
    .map(name =>
      [Array.prototype, name, ({ length }: unknown[]) => length] as [
        object,
        string,
        (collection: never) => number
      ]
    )
]

function iteratorOf (collection: Iterable<unknown>): object {
  return Object.getPrototypeOf(collection[Symbol.iterator]()) as object
}

/**
 * Returns how many elements of collections `work` visits. This shows quadratic work without a
 * clock, so it is the same on a busy machine.
 */
export async function stepsOf (work: () => Promise<unknown>): Promise<number> {
  let steps = 0
  const restore = visits.map(([prototype, name, count]) => {
    const own = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor
    const original = own.value as (...args: unknown[]) => unknown
    Object.defineProperty(prototype, name, {
      ...own,
      value (this: never, ...args: unknown[]) {
        steps += count(this)
        return Reflect.apply(original, this, args)
      }
    })
    return () => {
      Object.defineProperty(prototype, name, own)
    }
  })
  try {
    await work()
    return steps
  } finally {
    restore.map(back => {
      back()
    })
  }
}
