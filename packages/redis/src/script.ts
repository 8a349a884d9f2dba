import { createHash } from 'node:crypto'

/** A Lua script with the hash that Redis knows it by. */
export interface RedisScript {
  readonly lua: string
  readonly sha: string
}

/** Prepares a script. All keys it touches must come in `KEYS`: names built inside a script escape prefixes and Cluster slots. */
export function defineScript (lua: string): RedisScript {
  return Object.freeze({ lua, sha: createHash('sha1').update(lua).digest('hex') })
}
