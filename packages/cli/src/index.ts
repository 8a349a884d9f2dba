export type { CommandConfig } from './run/config.ts'
export { main } from './main.ts'
export type { Streams } from './terminal/streams.ts'
