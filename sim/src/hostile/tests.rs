//! Every lie is told, and meets what is to stop it.
