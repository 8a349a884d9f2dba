export type { CommandConfig } from './config.ts'
export { main } from './main.ts'
export type { Streams } from './streams.ts'
