export { assertIsolated, tagged, type IsolationExpectation } from './isolation.ts'
export { registryConformance, type ConformanceCheck,
  type RegistryConformanceOptions } from './registry-conformance.ts'
