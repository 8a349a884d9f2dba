export { choose, type Choices, type DatabaseChoice, type Language, type StrategyChoice } from './choices.ts'
export { applicationFiles } from './application-files.ts'
export { create, type Terminal } from './create.ts'
