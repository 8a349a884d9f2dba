/** Whether this is `npm run test:long`, in which shortened tests run in full. */
export const isLong: boolean = process.env.TEST_LONG === '1'
