"""What Deep Image Prior is compared with: classical denoisers, and a DDPM with its training."""
