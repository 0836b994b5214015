"""All claims, by family: what each says, its study, its measure and its criteria."""
