import { createHash } from 'node:crypto'

/** A Lua script with the hash by which Redis knows it. */
export interface RedisScript {
  readonly lua: string
  readonly sha: string
}

/**
 * Defines a script. All keys it touches must be in `KEYS`, because names built inside a script
 * bypass prefixes and Cluster slots.
 */
export function defineScript (lua: string): RedisScript {
  return Object.freeze({ lua, sha: createHash('sha1').update(lua).digest('hex') })
}
