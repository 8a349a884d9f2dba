export { addressKey, cacheChannel, catalogChannel, installationKey, installationKeys, installationProblem,
  invalidationChannel, lookupKey, lookupLockKey, processesKey, pulseKey, roleName, tenantIdentifier,
  tenantKey, tenantKeyPrefix, tenantRole, unreadyDatabase, usageAnswerChannel, usageChannel,
  type KeySpace } from '../key.ts'
export { deriveKey, Seal, signatureLength, type Sealed } from '../seal.ts'
