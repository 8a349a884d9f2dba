/** What a template may ask: `#if rls`, `#if !redis`. */
export type TemplateFacts = Readonly<Record<string, boolean>>

// The end of a comment in any of the languages of the templates: `// #if x`, `<!-- #if x -->`.
const directive = /^\s*(?:\/\/|#|<!--) #(?:if (!?)(\w+)|(end))(?: -->)?\s*$/

/**
 * Returns a template's lines, without the blocks whose condition is false. A block begins with a
 * comment `#if fact` or `#if !fact`, and ends with a comment `#end`. Blocks may be nested.
 *
 * @throws if a block is not closed, or a fact is unknown
 */
export function keepBlocks (template: string, facts: TemplateFacts): string {
  const open: boolean[] = []
  const kept = template.split('\n').filter(line => {
    const match = directive.exec(line)
    if (match === null) return !open.includes(false)
    const [, not, fact = '', end] = match
    if (end !== undefined) {
      if (open.pop() === undefined) throw new Error('a template has an #end without #if')
      return false
    }
    const value = facts[fact]
    if (value === undefined) throw new Error(`a template asks for the unknown fact '${fact}'`)
    open.push(not === '!' ? !value : value)
    return false
  })
  if (open.length > 0) throw new Error('a template has an #if without #end')
  return kept.join('\n')
}

/**
 * Returns TypeScript for a template in JavaScript, whose types stand in comments as Flow has them.
 * A comment that begins with `:` is the type of what precedes it. A comment that begins with `::`
 * is other text that JavaScript lacks, such as `import type`.
 */
export function toTypeScript (template: string): string {
  return template
    .replaceAll(/\/\*:: ?([^]*?) ?\*\//g, '$1')
    .replaceAll(/\/\*: ([^]*?) ?\*\//g, ': $1')
    .replaceAll(/(\b(?:from |import |import\()'\.[^']*)\.js'/g, "$1.ts'")
}

/** Returns the template without its types. A line that holds nothing else is removed. */
export function toJavaScript (template: string): string {
  return template
    .replaceAll(/^[ \t]*\/\*::[^]*?\*\/\n/gm, '')
    .replaceAll(/\/\*::?[^]*?\*\//g, '')
}
