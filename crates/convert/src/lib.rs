//! Recipe, plan, pipeline and report of a conversion
