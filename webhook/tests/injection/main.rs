//! The pure side of the webhook from the outside: AdmissionReviews in, answers out, and the same
//! offline.

mod exchange;
mod golden;
mod hostile;
mod matrix;
mod offline;
mod oracle;
mod pods;
mod properties;
