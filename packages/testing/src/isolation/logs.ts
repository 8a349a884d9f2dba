import type { FastifyInstance } from 'fastify'

interface Stream {
  write(line: string, ...rest: unknown[]): unknown
}

/** Reads the application's log, stdout and stderr. */
interface LogWatch {
  /** Whether the logger can be read: false if it is off or not pino. */
  readonly isReadable: boolean
  stop(): void
}

/** Calls `listener` with each line of the application's log, which is still written. */
export function watchLogs (app: FastifyInstance, listener: (line: string) => void): LogWatch {
  const log = app.log as unknown as Record<symbol, Stream> & { readonly level?: string }
  const symbol = symbolOf(log, 'pino.stream')
  const isReadable = symbol !== undefined && log.level !== 'silent'
  const stops = [process.stdout, process.stderr].map(stream => tap(stream, 'write', listener))
  if (symbol !== undefined) {
    const real = log[symbol] as Stream
    // Child loggers have the root logger as their prototype, so they write here too.
    const watched = new Proxy(real, {
      get (target, name) {
        const member: unknown = Reflect.get(target, name)
        if (typeof member !== 'function') return member
        return (...values: unknown[]) => {
          if (name === 'write') listener(String(values[0]))
          return (member as (...values: unknown[]) => unknown).apply(target, values)
        }
      },
      set: (target, name, value) => Reflect.set(target, name, value)
    })
    log[symbol] = watched
    stops.push(() => {
      log[symbol] = real
    })
  }
  return {
    isReadable,
    stop () {
      for (const stop of stops) stop()
    }
  }
}

function tap (stream: NodeJS.WriteStream, name: 'write', listener: (line: string) => void): () => void {
  const real = stream[name]
  const own: typeof real = function (this: NodeJS.WriteStream, ...values: unknown[]) {
    listener(String(values[0]))
    return Reflect.apply(real, stream, values) as boolean
  }
  stream[name] = own
  return () => {
    // Restore only our own function, because a test runner may have replaced it meanwhile.
    if (stream[name] === own) stream[name] = real
  }
}

function symbolOf (holder: object, description: string): symbol | undefined {
  for (let each: object | null = holder; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const found = Object.getOwnPropertySymbols(each).find(symbol => symbol.description === description)
    if (found !== undefined) return found
  }
  return undefined
}
