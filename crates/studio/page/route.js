// Addresses of pages: `#/plan?input=…`. Values that are no texts are JSON.

/** The address of a page. */
export function address(page, query = {}) {
  const given =
    Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "" && !isEmpty(value));
  const search =
    new URLSearchParams(given.map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]));
  return `#/${page}${given.length ? `?${search}` : ""}`;
}

/** The page and the query of an address. */
export function read(hash) {
  const [, page, search] = /^#\/([a-z]*)\??(.*)$/s.exec(hash) ?? [null, "", ""];
  return { page: page || "open", query: Object.fromEntries(new URLSearchParams(search)) };
}

/** A value of a query that is JSON, without what is null in it; what cannot be read counts as not given. */
export function parsed(text, otherwise) {
  try {
    return JSON.parse(text, (_, value) => value ?? undefined) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Goes to a page. */
export function visit(page, query) {
  location.hash = address(page, query);
}

/** Makes the address say what the page shows, without a step back to what it showed before. */
export function remember(page, query) {
  history.replaceState(null, "", address(page, query));
}

function isEmpty(value) {
  return typeof value === "object" && Object.keys(value).length === 0;
}
