/** A route, without the device that it goes through. */
export interface WantedRoute {
  /** Host bits are zero. */
  readonly prefix: string
  readonly gateway?: string
  readonly scope: 'link' | 'global'
}
