/**
 * On a Cluster one command may only touch keys of one slot. Keys of the suite carry a hash tag
 * (core's key.ts). Keys with the same tag share a slot with any client prefix, so the tag alone
 * decides.
 */

/** Whether all keys have the same hash tag. */
export function inOneSlot (keys: readonly string[]): boolean {
  const first = tag(keys[0] ?? '')
  return keys.every(key => tag(key) === first)
}

/** Returns the keys in groups of the same hash tag. */
export function slotGroups (keys: readonly string[]): string[][] {
  return [...Map.groupBy(keys, tag).values()]
}

function tag (key: string): string {
  return /\{([^}]+)\}/.exec(key)?.[1] ?? key
}
