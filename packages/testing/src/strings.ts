/** One string inside a value, and its path: `.rows[0].name`. */
interface FoundString {
  readonly text: string
  readonly path: string
}

/**
 * Yields every string inside a value, at any depth: texts, bytes read as text, property names,
 * members of maps and sets, errors with their causes.
 */
export function* strings (value: unknown, path = '', seen: Set<object> = new Set()): Generator<FoundString> {
  if (typeof value === 'string') yield { text: value, path }
  if (typeof value === 'symbol') yield { text: value.description ?? '', path }
  if (typeof value !== 'object' && typeof value !== 'function') return
  if (value === null || seen.has(value)) return
  seen.add(value)

  if (ArrayBuffer.isView(value)) {
    yield { text: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString(), path }
  } else if (value instanceof ArrayBuffer) {
    yield { text: Buffer.from(value).toString(), path }
  } else if (value instanceof Map) {
    for (const [key, member] of value) {
      yield* strings(key, `${path}.keys()`, seen)
      yield* strings(member, `${path}.get(${String(key)})`, seen)
    }
  } else if (value instanceof Set) {
    for (const member of value) yield* strings(member, `${path}.values()`, seen)
  } else {
    // Read all properties, because an error's message, stack and cause are not enumerable.
    for (const key of Reflect.ownKeys(value)) {
      const step = Array.isArray(value) ? `${path}[${String(key)}]` : `${path}.${String(key)}`
      yield* strings(key, `${step} (its name)`, seen)
      yield* strings(read(value, key), step, seen)
    }
  }
}

// Returns the error of a getter that throws (such as that of a closed handle), because its value
// was never visible.
function read (value: object, key: PropertyKey): unknown {
  try {
    return Reflect.get(value, key)
  } catch (error) {
    return error
  }
}
