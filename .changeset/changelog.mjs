// How a changelog is written. All packages have one version, so it lists no updates of each other.
export default {
  getReleaseLine: async ({ summary }) => {
    const [first, ...rest] = summary.trim().split('\n')
    return [`- ${first}`, ...rest.map(line => `  ${line}`.trimEnd())].join('\n')
  },
  getDependencyReleaseLine: async () => ''
}
