// Requests to the server. Addresses are relative to the page, so that the token in its address stays there.

/** The server answered that it does not do this. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error ?? `HTTP ${status}`);
    this.status = status;
  }
}

/** The server does not answer. */
export class Gone extends Error {}

/** Get, or with a body post; the answer's JSON. Throws Refused or Gone. */
export const ask = async (address, body) => {
  const how = body === undefined ? {} : {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
  };
  try {
    const answer = await fetch(address, {cache: "no-store", ...how});
    if (answer.ok) return await answer.json();
    throw new Refused(answer.status, await answer.json().catch(() => ({})));
  } catch (error) {
    throw error instanceof Refused ? error : new Gone();
  }
};

const NONE = 2 ** 31 - 1;  // the number of no status: the first is answered at once

export const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

/** Tell each new status for ever; `lost` hears why when there is none, and it is asked again two seconds later. */
export const watch = async (heard, lost) => {
  for (let seen = NONE; ;) {
    try {
      const status = await ask(`status/${seen}`);
      seen = status.number;
      heard(status);
    } catch (error) {
      if (!(error instanceof Gone || error instanceof Refused)) throw error;
      lost(error);
      await pause(2000);
    }
  }
};
