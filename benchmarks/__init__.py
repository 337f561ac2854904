"""Speed and agreement, measured against peers in one run; results/ keeps what was measured."""
