/** The icon of the pages: without one, browsers ask the application for `/favicon.ico`. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16"
  rx="3" fill="#0b57a4"/><path d="M4 4h8v2H9v6H7V6H4z" fill="#fff"/></svg>
`
