import { domainToASCII } from 'node:url'

const plain = /^[a-z0-9.-]+[a-z0-9-]$/

/**
 * Returns a domain as requests name it: lower case, ASCII, without the final dot. An invalid domain
 * is returned unchanged; no tenant has it.
 */
export function normalDomain (input: string): string {
  if (plain.test(input)) return input
  const bare = input.toLowerCase().replace(/\.$/, '')
  return domainToASCII(bare) || bare
}
