export { createManager, type CreateInput, type InitInput, type Manager } from './manager.ts'
export type { Provision } from './provision.ts'
export { resolveManagerOptions, type ManagerOptions, type ResolvedManagerOptions } from './options.ts'
