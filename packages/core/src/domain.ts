import { domainToASCII } from 'node:url'

const plain = /^[a-z0-9.-]+[a-z0-9-]$/

/** A domain as requests name it: lower case, in ASCII, without the dot at the end. What is no domain stays as it is, and no tenant has it. */
export function normalDomain (given: string): string {
  if (plain.test(given)) return given
  const bare = given.toLowerCase().replace(/\.$/, '')
  return domainToASCII(bare) || bare
}
