import { domainToASCII } from 'node:url'

const plain = /^[a-z0-9.-]+[a-z0-9-]$/

/** A domain as requests name it: lower case, in ASCII, without the dot at the end. What is no domain stays as it is, and no tenant has it. */
export function normalDomain (input: string): string {
  if (plain.test(input)) return input
  const bare = input.toLowerCase().replace(/\.$/, '')
  return domainToASCII(bare) || bare
}
