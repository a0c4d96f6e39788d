//! Values that an 8- or 16-bit code can stand for: nearest, neighbours, decode
