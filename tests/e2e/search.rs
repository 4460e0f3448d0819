//! Search over the demo catalogue: Chinese in all the ways to type it, and what the facets count.

mod chinese;
mod facets;
